"""The messages of ``caffe.proto`` that a network needs, with their numbers; what a text and a binary file are read by.

Source: BVLC/caffe, src/caffe/proto/caffe.proto; ``permute_param`` and ``norm_param`` as in the SSD branch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from firesteel.errors import ModelError
from firesteel.specs import did_you_mean

_FIELDS = {
    "NetParameter": "1 name string, 2 layers V1LayerParameter, 3 input string, 4 input_dim int, 5 force_backward bool,"
    " 6 state NetState, 7 debug_info bool, 8 input_shape BlobShape, 100 layer LayerParameter",
    "NetState": "1 phase Phase, 2 level int, 3 stage string",
    "NetStateRule": "1 phase Phase, 2 min_level int, 3 max_level int, 4 stage string, 5 not_stage string",
    "BlobShape": "1 dim int",
    "ParamSpec": "1 name string, 2 share_mode any, 3 lr_mult float, 4 decay_mult float",
    "LayerParameter": "1 name string, 2 type string, 3 bottom string, 4 top string, 5 loss_weight float, 6 param ParamSpec,"
    " 7 blobs BlobProto, 8 include NetStateRule, 9 exclude NetStateRule, 10 phase Phase, 11 propagate_down bool,"
    " 100 transform_param TransformationParameter, 101 loss_param any, 102 accuracy_param any, 103 argmax_param any,"
    " 104 concat_param ConcatParameter, 106 convolution_param ConvolutionParameter, 107 data_param any,"
    " 108 dropout_param DropoutParameter, 109 dummy_data_param DummyDataParameter, 110 eltwise_param EltwiseParameter,"
    " 111 exp_param ExpParameter, 112 hdf5_data_param any, 113 hdf5_output_param any, 115 image_data_param any,"
    " 117 inner_product_param InnerProductParameter, 118 lrn_param LRNParameter,"
    " 119 memory_data_param MemoryDataParameter, 120 mvn_param MVNParameter, 121 pooling_param PoolingParameter,"
    " 122 power_param PowerParameter, 123 relu_param ReLUParameter, 124 sigmoid_param EngineParameter,"
    " 125 softmax_param SoftmaxParameter, 126 slice_param SliceParameter, 127 tanh_param EngineParameter,"
    " 128 threshold_param ThresholdParameter, 131 prelu_param PReLUParameter, 133 reshape_param ReshapeParameter,"
    " 134 log_param LogParameter, 135 flatten_param FlattenParameter, 136 reduction_param ReductionParameter,"
    " 138 tile_param TileParameter, 139 batch_norm_param BatchNormParameter, 140 elu_param ELUParameter,"
    " 141 bias_param BiasParameter, 142 scale_param ScaleParameter, 143 input_param InputParameter,"
    " 144 crop_param CropParameter, 202 permute_param PermuteParameter, 206 norm_param NormalizeParameter",
    "V1LayerParameter": "1 layer any, 2 bottom string, 3 top string, 4 name string, 5 type V1LayerType, 6 blobs BlobProto,"
    " 7 blobs_lr float, 8 weight_decay float, 9 concat_param ConcatParameter, 10 convolution_param ConvolutionParameter,"
    " 11 data_param any, 12 dropout_param DropoutParameter, 13 hdf5_data_param any, 14 hdf5_output_param any,"
    " 15 image_data_param any, 17 inner_product_param InnerProductParameter, 18 lrn_param LRNParameter,"
    " 19 pooling_param PoolingParameter, 20 window_data_param any, 21 power_param PowerParameter,"
    " 22 memory_data_param MemoryDataParameter, 23 argmax_param any, 24 eltwise_param EltwiseParameter,"
    " 25 threshold_param ThresholdParameter, 26 dummy_data_param DummyDataParameter, 27 accuracy_param any,"
    " 29 hinge_loss_param any, 30 relu_param ReLUParameter, 31 slice_param SliceParameter, 32 include NetStateRule,"
    " 33 exclude NetStateRule, 34 mvn_param MVNParameter, 35 loss_weight float,"
    " 36 transform_param TransformationParameter, 37 tanh_param EngineParameter, 38 sigmoid_param EngineParameter,"
    " 39 softmax_param SoftmaxParameter, 41 exp_param ExpParameter, 42 loss_param any, 1001 param string,"
    " 1002 blob_share_mode any",
    "TransformationParameter": "1 scale float, 2 mirror bool, 3 crop_size int, 4 mean_file string, 5 mean_value float,"
    " 6 force_color bool, 7 force_gray bool, 8 resize_param any, 9 noise_param any, 10 emit_constraint any",
    "FillerParameter": "1 type string, 2 value float, 3 min float, 4 max float, 5 mean float, 6 std float, 7 sparse int,"
    " 8 variance_norm any",
    "ConcatParameter": "1 concat_dim int, 2 axis int",
    "ConvolutionParameter": "1 num_output int, 2 bias_term bool, 3 pad int, 4 kernel_size int, 5 group int, 6 stride int,"
    " 7 weight_filler FillerParameter, 8 bias_filler FillerParameter, 9 pad_h int, 10 pad_w int, 11 kernel_h int,"
    " 12 kernel_w int, 13 stride_h int, 14 stride_w int, 15 engine any, 16 axis int, 17 force_nd_im2col bool, 18 dilation int",
    "DropoutParameter": "1 dropout_ratio float, 2 scale_train bool",
    "DummyDataParameter": "1 data_filler FillerParameter, 2 num int, 3 channels int, 4 height int, 5 width int, 6 shape BlobShape",
    "MemoryDataParameter": "1 batch_size int, 2 channels int, 3 height int, 4 width int",
    "EltwiseParameter": "1 operation EltwiseOp, 2 coeff float, 3 stable_prod_grad bool",
    "ExpParameter": "1 base float, 2 scale float, 3 shift float",
    "LogParameter": "1 base float, 2 scale float, 3 shift float",
    "PowerParameter": "1 power float, 2 scale float, 3 shift float",
    "InnerProductParameter": "1 num_output int, 2 bias_term bool, 3 weight_filler FillerParameter,"
    " 4 bias_filler FillerParameter, 5 axis int, 6 transpose bool",
    "LRNParameter": "1 local_size int, 2 alpha float, 3 beta float, 4 norm_region NormRegion, 5 k float, 6 engine any",
    "MVNParameter": "1 normalize_variance bool, 2 across_channels bool, 3 eps float",
    "PoolingParameter": "1 pool PoolMethod, 2 kernel_size int, 3 stride int, 4 pad int, 5 kernel_h int, 6 kernel_w int,"
    " 7 stride_h int, 8 stride_w int, 9 pad_h int, 10 pad_w int, 11 engine any, 12 global_pooling bool,"
    " 13 round_mode RoundMode",
    "ReLUParameter": "1 negative_slope float, 2 engine any",
    "EngineParameter": "1 engine any",
    "SoftmaxParameter": "1 engine any, 2 axis int",
    "SliceParameter": "1 slice_dim int, 2 slice_point int, 3 axis int",
    "ThresholdParameter": "1 threshold float",
    "PReLUParameter": "1 filler FillerParameter, 2 channel_shared bool",
    "ReshapeParameter": "1 shape BlobShape, 2 axis int, 3 num_axes int",
    "FlattenParameter": "1 axis int, 2 end_axis int",
    "ReductionParameter": "1 operation ReductionOp, 2 axis int, 3 coeff float",
    "TileParameter": "1 axis int, 2 tiles int",
    "BatchNormParameter": "1 use_global_stats bool, 2 moving_average_fraction float, 3 eps float",
    "ELUParameter": "1 alpha float",
    "BiasParameter": "1 axis int, 2 num_axes int, 3 filler FillerParameter",
    "ScaleParameter": "1 axis int, 2 num_axes int, 3 filler FillerParameter, 4 bias_term bool, 5 bias_filler FillerParameter",
    "InputParameter": "1 shape BlobShape",
    "CropParameter": "1 axis int, 2 offset int",
    "PermuteParameter": "1 order int",
    "NormalizeParameter": "1 across_spatial bool, 2 scale_filler FillerParameter, 3 channel_shared bool, 4 eps float",
}

ENUMS = {
    "Phase": ("TRAIN", "TEST"),
    "EltwiseOp": ("PROD", "SUM", "MAX"),
    "NormRegion": ("ACROSS_CHANNELS", "WITHIN_CHANNEL"),
    "PoolMethod": ("MAX", "AVE", "STOCHASTIC"),
    "RoundMode": ("CEIL", "FLOOR"),
    "ReductionOp": ("", "SUM", "ASUM", "SUMSQ", "MEAN"),
    "V1LayerType": (
        "NONE", "ACCURACY", "BNLL", "CONCAT", "CONVOLUTION", "DATA", "DROPOUT", "EUCLIDEAN_LOSS", "FLATTEN", "HDF5_DATA",
        "HDF5_OUTPUT", "IM2COL", "IMAGE_DATA", "INFOGAIN_LOSS", "INNER_PRODUCT", "LRN", "MULTINOMIAL_LOGISTIC_LOSS",
        "POOLING", "RELU", "SIGMOID", "SOFTMAX", "SOFTMAX_LOSS", "SPLIT", "TANH", "WINDOW_DATA", "ELTWISE", "POWER",
        "SIGMOID_CROSS_ENTROPY_LOSS", "HINGE_LOSS", "MEMORY_DATA", "ARGMAX", "THRESHOLD", "DUMMY_DATA", "SLICE", "MVN",
        "ABSVAL", "SILENCE", "CONTRASTIVE_LOSS", "EXP", "DECONVOLUTION",
    ),
}  # fmt: skip
"""Names by value."""

V1_TYPES = {
    "ABSVAL": "AbsVal", "ACCURACY": "Accuracy", "ARGMAX": "ArgMax", "BNLL": "BNLL", "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss", "CONVOLUTION": "Convolution", "DATA": "Data",
    "DECONVOLUTION": "Deconvolution", "DROPOUT": "Dropout", "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss", "ELTWISE": "Eltwise", "EXP": "Exp", "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data", "HDF5_OUTPUT": "HDF5Output", "HINGE_LOSS": "HingeLoss", "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData", "INFOGAIN_LOSS": "InfogainLoss", "INNER_PRODUCT": "InnerProduct", "LRN": "LRN",
    "MEMORY_DATA": "MemoryData", "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss", "MVN": "MVN",
    "POOLING": "Pooling", "POWER": "Power", "RELU": "ReLU", "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss", "SILENCE": "Silence", "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss", "SPLIT": "Split", "SLICE": "Slice", "TANH": "TanH",
    "WINDOW_DATA": "WindowData", "THRESHOLD": "Threshold",
}  # fmt: skip
"""Types of today by those of version 1 of the format."""


class Field(NamedTuple):
    """Number, name and kind (``int``, ``float``, ``bool``, ``string``, ``any``, an enum or a message)."""

    number: int
    name: str
    kind: str


def _parse(text: str) -> tuple[Field, ...]:
    parts = (part.split() for part in text.split(","))
    return tuple(Field(int(number), name, kind) for number, name, kind in parts)


MESSAGES: dict[str, tuple[Field, ...]] = {kind: _parse(text) for kind, text in _FIELDS.items()}
BY_NUMBER = {kind: {field.number: field for field in fields} for kind, fields in MESSAGES.items()}
BY_NAME = {kind: {field.name: field for field in fields} for kind, fields in MESSAGES.items()}

OPEN_MESSAGES = ("NetParameter", "LayerParameter", "V1LayerParameter")
"""Forks of Caffe add fields to these; in all others a field that we do not know is an error."""


class Message:
    """A message: values by the name of their field, in their order, each of the type that the schema says."""

    __slots__ = ("ignored", "kind", "values")

    def __init__(self, kind: str):
        self.kind = kind
        self.values: dict[str, list[Any]] = {}
        self.ignored: set[str] = set()

    def add(self, name: str, value: Any) -> None:
        self.values.setdefault(name, []).append(value)

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, the last one if it stands there more than once."""
        assert name in BY_NAME[self.kind], f"{self.kind} has no {name}"
        found = self.values.get(name)
        return found[-1] if found else default

    def all(self, name: str) -> list[Any]:
        assert name in BY_NAME[self.kind], f"{self.kind} has no {name}"
        return self.values.get(name, [])

    def message(self, name: str) -> Message:
        """A message within, an empty one if there is none."""
        return self.get(name) or Message(BY_NAME[self.kind][name].kind)


def field_named(kind: str, name: str, where: str) -> Field | None:
    """The field of a message, None for one that is to be ignored.

    Raises:
        ModelError: if a message that no fork adds to has no such field.
    """
    found = BY_NAME[kind].get(name)
    if found is None and kind not in OPEN_MESSAGES:
        raise ModelError(f"{where}: {kind} has no field {name!r}.{did_you_mean(name, BY_NAME[kind])}")
    return found


__all__ = ["BY_NUMBER", "ENUMS", "MESSAGES", "V1_TYPES", "Field", "Message", "field_named"]
