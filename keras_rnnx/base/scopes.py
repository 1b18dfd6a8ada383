"""Scopes in which the variables that a cell reads are refused, noted, or given their values."""

import keras
from keras import ops


class NoVariables(keras.StatelessScope):
    """A scope in which reading a variable is an error: `step` must get its weights from `u`."""

    def get_current_value(self, variable):
        """Raises, naming the variable."""
        raise ValueError(
            f"`step` reads the variable {variable.path!r}. The engine must see every weight that a step uses, or its "
            "gradient would be lost: declare it (VECTORS, MATRICES, `add_vector` or `add_matrix`) and read it from `u`."
        )


class Noting(keras.StatelessScope):
    """A scope that notes which variables are read."""

    def __init__(self, read):
        super().__init__()
        self.read = read

    def get_current_value(self, variable):
        """Notes the variable, which has its own value."""
        self.read[id(variable)] = variable


class Given(keras.StatelessScope):
    """A scope in which variables have given values, and no other is read."""

    def __init__(self, variables, values):
        super().__init__()
        self.given = {id(variable): value for variable, value in zip(variables, values, strict=True)}

    def get_current_value(self, variable):
        """The given value."""
        if id(variable) not in self.given:
            raise ValueError(
                "Expected `inputs` to read the same variables at each call. "
                f"Received: {variable.path!r}, not read before"
            )
        return self.given[id(variable)]


def values(variables):
    """The values of variables; `convert_to_tensor` would keep a variable."""
    return [ops.cast(v, v.dtype) for v in variables]
