"""Wirings: which neurons of a liquid network have synapses, for `LTC` and `CfC`."""

import keras
import numpy as np

from keras_rnnx.arguments import integer, number, positive, rate

__all__ = ["AutoNCP", "FullyConnected", "NCP", "Random", "Wiring"]


class Wiring:
    """A wiring of input features and neurons.

    A subclass gives `connect`, and `layers` where its neurons are layered. The first `output_units` neurons are the
    motor neurons, whose values are the output.

    Args:
        units: int > 0, H, the number of neurons.
        output_units: int > 0 or None, the number of motor neurons. Default: all.
        seed: int, for what is drawn.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(self, units, output_units=None, seed=1111):
        self.units = positive("units", units)
        self.output_units = self.units if output_units is None else positive("output_units", output_units)
        self.seed = integer("seed", seed)
        if self.output_units > self.units:
            raise ValueError(
                f"Expected `output_units` <= `units`. Received: output_units={output_units}, units={units}"
            )

    @property
    def layers(self):
        """The neurons as ranges, from those that read the inputs to the motor neurons. Default: one range."""
        return [range(self.units)]

    def connect(self, features):
        """The synapses: 1 where excitatory, -1 where inhibitory, 0 where there is none.

        Args:
            features: int, D, the number of input features.

        Returns:
            Two integer arrays: from features to neurons (D, H), and from neurons to neurons (H, H). The same on every
            call.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `connect(self, features)`")

    def get_config(self):
        """The arguments."""
        return {"units": self.units, "output_units": self.output_units, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        """A wiring from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FullyConnected(Wiring):
    """Every feature and every neuron feeds every neuron; a third of the synapses is inhibitory.

    Args:
        units: int > 0, H.
        output_units: see `Wiring`.
        seed: int, for the signs.
        self_connections: bool, whether a neuron feeds itself.
    """

    def __init__(self, units, output_units=None, seed=1111, self_connections=True):
        super().__init__(units, output_units, seed)
        self.self_connections = bool(self_connections)

    def connect(self, features):
        """See `Wiring`."""
        rng = np.random.default_rng(self.seed)
        inner = rng.choice([-1, 1, 1], (self.units, self.units))
        if not self.self_connections:
            np.fill_diagonal(inner, 0)
        return rng.choice([-1, 1, 1], (features, self.units)), inner

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "self_connections": self.self_connections}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Random(Wiring):
    """A random part of all synapses; a third of them is inhibitory.

    Args:
        units: int > 0, H.
        output_units: see `Wiring`.
        sparsity_level: float in [0, 1), the part of all possible synapses that is left out.
        seed: int.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(self, units, output_units=None, sparsity_level=0.0, seed=1111):
        super().__init__(units, output_units, seed)
        self.sparsity_level = rate("sparsity_level", sparsity_level)

    def connect(self, features):
        """See `Wiring`."""
        rng = np.random.default_rng(self.seed)

        def drawn(sources):
            synapses = np.zeros(sources * self.units, int)
            count = round(len(synapses) * (1 - self.sparsity_level))
            synapses[rng.choice(len(synapses), count, replace=False)] = rng.choice([-1, 1, 1], count)
            return synapses.reshape(sources, self.units)

        inner = drawn(self.units)
        return drawn(features), inner

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "sparsity_level": self.sparsity_level}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NCP(Wiring):
    """A neural circuit policy: features feed inter neurons, these command neurons, and these motor neurons.

    Lechner et al. (2020) in four rules: each source draws `fanout` targets of the next layer; a target that none has
    drawn gets as many sources as the others have on average; command neurons draw synapses among themselves; each motor
    neuron draws `motor_fanin` command neurons, and a command neuron that none has drawn gets its share of targets. With
    the same seed the synapses are those of the authors' package.

    Args:
        inter_neurons: int > 0.
        command_neurons: int > 0.
        motor_neurons: int > 0, the number of outputs.
        sensory_fanout: int > 0, the synapses from each feature to inter neurons.
        inter_fanout: int > 0, the synapses from each inter neuron to command neurons.
        recurrent_command_synapses: int >= 0, the synapses among command neurons.
        motor_fanin: int > 0, the synapses to each motor neuron from command neurons.
        seed: int.

    Raises:
        ValueError: if a number is out of range, or a fan is larger than the layer.

    Reference: M. Lechner, R. Hasani, A. Amini, T. A. Henzinger, D. Rus and R. Grosu, Neural circuit policies enabling
        auditable autonomy, Nature Machine Intelligence 2, 2020.
    """

    def __init__(
        self,
        inter_neurons,
        command_neurons,
        motor_neurons,
        sensory_fanout,
        inter_fanout,
        recurrent_command_synapses,
        motor_fanin,
        seed=22222,
    ):
        sizes = {"inter_neurons": inter_neurons, "command_neurons": command_neurons, "motor_neurons": motor_neurons}
        for name, value in sizes.items():
            positive(name, value)
        super().__init__(sum(sizes.values()), motor_neurons, seed)
        for name, value, layer in (
            ("sensory_fanout", sensory_fanout, "inter_neurons"),
            ("inter_fanout", inter_fanout, "command_neurons"),
            ("motor_fanin", motor_fanin, "command_neurons"),
        ):
            if positive(name, value) > sizes[layer]:
                raise ValueError(f"Expected `{name}` <= `{layer}`. Received: {name}={value}, {layer}={sizes[layer]}")
        self.inter_neurons = inter_neurons
        self.command_neurons = command_neurons
        self.motor_neurons = motor_neurons
        self.sensory_fanout = sensory_fanout
        self.inter_fanout = inter_fanout
        self.recurrent_command_synapses = integer("recurrent_command_synapses", recurrent_command_synapses)
        self.motor_fanin = motor_fanin

    @property
    def layers(self):
        """Inter, command and motor neurons."""
        motor, command = self.motor_neurons, self.motor_neurons + self.command_neurons
        return [range(command, self.units), range(motor, command), range(motor)]

    def connect(self, features):
        """See `Wiring`."""
        rng = np.random.RandomState(self.seed)
        sensors = np.arange(features)
        inter, command, motor = (np.array(layer) for layer in self.layers)
        sensory = np.zeros((features, self.units), int)
        inner = np.zeros((self.units, self.units), int)
        _link(rng, sensory, sensors, inter, self.sensory_fanout)
        _link(rng, inner, inter, command, self.inter_fanout)
        for _ in range(self.recurrent_command_synapses):
            source, target = rng.choice(command), rng.choice(command)
            inner[source, target] = rng.choice([-1, 1])
        _link(rng, inner.T, motor, command, self.motor_fanin)
        return sensory, inner

    def get_config(self):
        """The arguments."""
        names = ("inter_neurons", "command_neurons", "motor_neurons", "sensory_fanout", "inter_fanout")
        names += ("recurrent_command_synapses", "motor_fanin", "seed")
        return {name: getattr(self, name) for name in names}


def _link(rng, synapses, sources, targets, fan):
    """Each source draws `fan` targets; a target that is left alone draws its mean share of sources."""
    for source in sources:
        for target in rng.choice(targets, fan, replace=False):
            synapses[source, target] = rng.choice([-1, 1])
    alone = [target for target in targets if not synapses[sources, target].any()]
    share = int(np.clip(len(sources) * fan // len(targets), 1, len(sources)))
    for target in alone:
        for source in rng.choice(sources, share, replace=False):
            synapses[source, target] = rng.choice([-1, 1])


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AutoNCP(NCP):
    """A neural circuit policy from the number of neurons, the number of outputs and the sparsity.

    40 % of the neurons that are not motor neurons are command neurons, and the fans are the part `1 - sparsity_level`
    of the layer they reach.

    Args:
        units: int > 0, H.
        output_units: int > 0, less than `units - 2`.
        sparsity_level: float in [0.1, 1). Default 0.5.
        seed: int.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(self, units, output_units, sparsity_level=0.5, seed=22222):
        if positive("output_units", output_units) >= positive("units", units) - 2:
            raise ValueError(
                f"Expected `output_units` < `units` - 2. Received: output_units={output_units}, units={units}"
            )
        self.sparsity_level = number("sparsity_level", sparsity_level, "[0.1, 1)")
        density = 1.0 - self.sparsity_level
        command = max(int(0.4 * (units - output_units)), 1)
        inter = units - output_units - command
        super().__init__(
            inter,
            command,
            output_units,
            sensory_fanout=max(int(inter * density), 1),
            inter_fanout=max(int(command * density), 1),
            recurrent_command_synapses=max(int(command * density * 2), 1),
            motor_fanin=max(int(command * density), 1),
            seed=seed,
        )

    def get_config(self):
        """The arguments."""
        return {
            "units": self.units,
            "output_units": self.output_units,
            "sparsity_level": self.sparsity_level,
            "seed": self.seed,
        }
