"""Small models for the tasks of a recurrent network, each with `fit`, `predict` and `save`."""

from keras_rnnx.models.classifier import SequenceClassifier as SequenceClassifier
from keras_rnnx.models.crf import CRF as CRF
from keras_rnnx.models.crf import allowed_transitions as allowed_transitions
from keras_rnnx.models.forecaster import Forecaster as Forecaster
from keras_rnnx.models.generator import SequenceGenerator as SequenceGenerator
from keras_rnnx.models.pooling import MaskedMaxPooling as MaskedMaxPooling
from keras_rnnx.models.pooling import MaskedMeanPooling as MaskedMeanPooling
from keras_rnnx.models.series import residual_scores as residual_scores
from keras_rnnx.models.series import windows as windows
from keras_rnnx.models.tagger import SequenceTagger as SequenceTagger
from keras_rnnx.models.text import Text as Text
from keras_rnnx.models.text import TextModel as TextModel
from keras_rnnx.models.trunk import Trunk as Trunk
