"""``torch.nn`` with choices in the place of arguments, for type checkers.

Written by ``python -m tools.nn_stubs`` from torch 2.13; do not edit.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..space.value import Value
from oneshot_plugins.elastic.activation import activation as activation
from oneshot_plugins.elastic.layer import MutableLayer as MutableLayer
from oneshot_plugins.elastic.layer import mutable as mutable
from oneshot_plugins.elastic.rule import LayerRule as LayerRule
from torch.nn import Buffer as Buffer
from torch.nn import LazyBatchNorm1d as LazyBatchNorm1d
from torch.nn import LazyBatchNorm2d as LazyBatchNorm2d
from torch.nn import LazyBatchNorm3d as LazyBatchNorm3d
from torch.nn import LazyConv1d as LazyConv1d
from torch.nn import LazyConv2d as LazyConv2d
from torch.nn import LazyConv3d as LazyConv3d
from torch.nn import LazyConvTranspose1d as LazyConvTranspose1d
from torch.nn import LazyConvTranspose2d as LazyConvTranspose2d
from torch.nn import LazyConvTranspose3d as LazyConvTranspose3d
from torch.nn import LazyInstanceNorm1d as LazyInstanceNorm1d
from torch.nn import LazyInstanceNorm2d as LazyInstanceNorm2d
from torch.nn import LazyInstanceNorm3d as LazyInstanceNorm3d
from torch.nn import LazyLinear as LazyLinear
from torch.nn import LinearCrossEntropyOptions as LinearCrossEntropyOptions
from torch.nn import Module as Module
from torch.nn import ModuleDict as ModuleDict
from torch.nn import ModuleList as ModuleList
from torch.nn import Parameter as Parameter
from torch.nn import ParameterDict as ParameterDict
from torch.nn import ParameterList as ParameterList
from torch.nn import Sequential as Sequential
from torch.nn import UninitializedBuffer as UninitializedBuffer
from torch.nn import UninitializedParameter as UninitializedParameter
from torch.nn import attention as attention
from torch.nn import common_types as common_types
from torch.nn import factory_kwargs as factory_kwargs
from torch.nn import functional as functional
from torch.nn import grad as grad
from torch.nn import init as init
from torch.nn import intrinsic as intrinsic
from torch.nn import modules as modules
from torch.nn import parallel as parallel
from torch.nn import parameter as parameter
from torch.nn import qat as qat
from torch.nn import quantizable as quantizable
from torch.nn import quantized as quantized
from torch.nn import utils as utils

class AdaptiveAvgPool1d(torch.nn.AdaptiveAvgPool1d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
    ) -> None: ...

class AdaptiveAvgPool2d(torch.nn.AdaptiveAvgPool2d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
    ) -> None: ...

class AdaptiveAvgPool3d(torch.nn.AdaptiveAvgPool3d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
    ) -> None: ...

class AdaptiveLogSoftmaxWithLoss(torch.nn.AdaptiveLogSoftmaxWithLoss):
    def __init__(
        self,
        in_features: int | Value,
        n_classes: int | Value,
        cutoffs: Any,
        div_value: float | Value = ...,
        head_bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class AdaptiveMaxPool1d(torch.nn.AdaptiveMaxPool1d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
        return_indices: bool | Value = ...,
    ) -> None: ...

class AdaptiveMaxPool2d(torch.nn.AdaptiveMaxPool2d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
        return_indices: bool | Value = ...,
    ) -> None: ...

class AdaptiveMaxPool3d(torch.nn.AdaptiveMaxPool3d):
    def __init__(
        self,
        output_size: int | tuple[int | Value | None, ...] | Value | None,
        return_indices: bool | Value = ...,
    ) -> None: ...

class AlphaDropout(torch.nn.AlphaDropout):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class AvgPool1d(torch.nn.AvgPool1d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value] | Value,
        stride: int | tuple[int | Value] | Value = ...,
        padding: int | tuple[int | Value] | Value = ...,
        ceil_mode: bool | Value = ...,
        count_include_pad: bool | Value = ...,
    ) -> None: ...

class AvgPool2d(torch.nn.AvgPool2d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value] | Value | None = ...,
        padding: int | tuple[int | Value, int | Value] | Value = ...,
        ceil_mode: bool | Value = ...,
        count_include_pad: bool | Value = ...,
        divisor_override: int | Value | None = ...,
    ) -> None: ...

class AvgPool3d(torch.nn.AvgPool3d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value, int | Value] | Value | None = ...,
        padding: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        ceil_mode: bool | Value = ...,
        count_include_pad: bool | Value = ...,
        divisor_override: int | Value | None = ...,
    ) -> None: ...

class BCELoss(torch.nn.BCELoss):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class BCEWithLogitsLoss(torch.nn.BCEWithLogitsLoss):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
        pos_weight: Tensor | None = ...,
    ) -> None: ...

class BatchNorm1d(torch.nn.BatchNorm1d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value | None = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class BatchNorm2d(torch.nn.BatchNorm2d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value | None = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class BatchNorm3d(torch.nn.BatchNorm3d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value | None = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class Bilinear(torch.nn.Bilinear):
    def __init__(
        self,
        in1_features: int | Value,
        in2_features: int | Value,
        out_features: int | Value,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class CELU(torch.nn.CELU):
    def __init__(
        self,
        alpha: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class CTCLoss(torch.nn.CTCLoss):
    def __init__(
        self,
        blank: int | Value = ...,
        reduction: str | Value = ...,
        zero_infinity: bool | Value = ...,
    ) -> None: ...

class ChannelShuffle(torch.nn.ChannelShuffle):
    def __init__(
        self,
        groups: int | Value,
    ) -> None: ...

class CircularPad1d(torch.nn.CircularPad1d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value] | Value,
    ) -> None: ...

class CircularPad2d(torch.nn.CircularPad2d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class CircularPad3d(torch.nn.CircularPad3d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class ConstantPad1d(torch.nn.ConstantPad1d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value] | Value,
        value: float | Value,
    ) -> None: ...

class ConstantPad2d(torch.nn.ConstantPad2d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value] | Value,
        value: float | Value,
    ) -> None: ...

class ConstantPad3d(torch.nn.ConstantPad3d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value, int | Value, int | Value] | Value,
        value: float | Value,
    ) -> None: ...

class Container(torch.nn.Container):
    def __init__(
        self,
        **kwargs: Any,
    ) -> None: ...

class Conv1d(torch.nn.Conv1d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value] | Value,
        stride: int | tuple[int | Value] | Value = ...,
        padding: str | int | tuple[int | Value] | Value = ...,
        dilation: int | tuple[int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class Conv2d(torch.nn.Conv2d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value] | Value = ...,
        padding: str | int | tuple[int | Value, int | Value] | Value = ...,
        dilation: int | tuple[int | Value, int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class Conv3d(torch.nn.Conv3d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value, int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        padding: str | int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        dilation: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class ConvTranspose1d(torch.nn.ConvTranspose1d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value] | Value,
        stride: int | tuple[int | Value] | Value = ...,
        padding: int | tuple[int | Value] | Value = ...,
        output_padding: int | tuple[int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        dilation: int | tuple[int | Value] | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class ConvTranspose2d(torch.nn.ConvTranspose2d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value] | Value = ...,
        padding: int | tuple[int | Value, int | Value] | Value = ...,
        output_padding: int | tuple[int | Value, int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        dilation: int | tuple[int | Value, int | Value] | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class ConvTranspose3d(torch.nn.ConvTranspose3d):
    def __init__(
        self,
        in_channels: int | Value,
        out_channels: int | Value,
        kernel_size: int | tuple[int | Value, int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        padding: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        output_padding: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        groups: int | Value = ...,
        bias: bool | Value = ...,
        dilation: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
        padding_mode: Literal['zeros', 'reflect', 'replicate', 'circular'] | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class CosineEmbeddingLoss(torch.nn.CosineEmbeddingLoss):
    def __init__(
        self,
        margin: float | Value = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class CosineSimilarity(torch.nn.CosineSimilarity):
    def __init__(
        self,
        dim: int | Value = ...,
        eps: float | Value = ...,
    ) -> None: ...

class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        ignore_index: int | Value = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
        label_smoothing: float | Value = ...,
    ) -> None: ...

class CrossMapLRN2d(torch.nn.CrossMapLRN2d):
    def __init__(
        self,
        size: int | Value,
        alpha: float | Value = ...,
        beta: float | Value = ...,
        k: float | Value = ...,
    ) -> None: ...

class DataParallel(torch.nn.DataParallel[Any]):
    def __init__(
        self,
        module: Any,
        device_ids: Any | None = ...,
        output_device: int | torch.device | Value | None = ...,
        dim: int | Value = ...,
    ) -> None: ...

class Dropout(torch.nn.Dropout):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Dropout1d(torch.nn.Dropout1d):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Dropout2d(torch.nn.Dropout2d):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Dropout3d(torch.nn.Dropout3d):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class ELU(torch.nn.ELU):
    def __init__(
        self,
        alpha: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Embedding(torch.nn.Embedding):
    def __init__(
        self,
        num_embeddings: int | Value,
        embedding_dim: int | Value,
        padding_idx: int | Value | None = ...,
        max_norm: float | Value | None = ...,
        norm_type: float | Value = ...,
        scale_grad_by_freq: bool | Value = ...,
        sparse: bool | Value = ...,
        _weight: Tensor | None = ...,
        _freeze: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class EmbeddingBag(torch.nn.EmbeddingBag):
    def __init__(
        self,
        num_embeddings: int | Value,
        embedding_dim: int | Value,
        max_norm: float | Value | None = ...,
        norm_type: float | Value = ...,
        scale_grad_by_freq: bool | Value = ...,
        mode: str | Value = ...,
        sparse: bool | Value = ...,
        _weight: Tensor | None = ...,
        include_last_offset: bool | Value = ...,
        padding_idx: int | Value | None = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class FeatureAlphaDropout(torch.nn.FeatureAlphaDropout):
    def __init__(
        self,
        p: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Flatten(torch.nn.Flatten):
    def __init__(
        self,
        start_dim: int | Value = ...,
        end_dim: int | Value = ...,
    ) -> None: ...

class Fold(torch.nn.Fold):
    def __init__(
        self,
        output_size: int | tuple[int | Value, ...] | Value,
        kernel_size: int | tuple[int | Value, ...] | Value,
        dilation: int | tuple[int | Value, ...] | Value = ...,
        padding: int | tuple[int | Value, ...] | Value = ...,
        stride: int | tuple[int | Value, ...] | Value = ...,
    ) -> None: ...

class FractionalMaxPool2d(torch.nn.FractionalMaxPool2d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value] | Value,
        output_size: int | tuple[int | Value, int | Value] | Value | None = ...,
        output_ratio: float | tuple[float | Value, float | Value] | Value | None = ...,
        return_indices: bool | Value = ...,
        _random_samples: Any = ...,
    ) -> None: ...

class FractionalMaxPool3d(torch.nn.FractionalMaxPool3d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value, int | Value] | Value,
        output_size: int | tuple[int | Value, int | Value, int | Value] | Value | None = ...,
        output_ratio: float | tuple[float | Value, float | Value, float | Value] | Value | None = ...,
        return_indices: bool | Value = ...,
        _random_samples: Any = ...,
    ) -> None: ...

class GELU(torch.nn.GELU):
    def __init__(
        self,
        approximate: str | Value = ...,
    ) -> None: ...

class GLU(torch.nn.GLU):
    def __init__(
        self,
        dim: int | Value = ...,
    ) -> None: ...

class GRU(torch.nn.GRU):
    def __init__(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

class GRUCell(torch.nn.GRUCell):
    def __init__(
        self,
        input_size: int | Value,
        hidden_size: int | Value,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class GaussianNLLLoss(torch.nn.GaussianNLLLoss):
    def __init__(
        self,
        *,
        full: bool | Value = ...,
        eps: float | Value = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class GroupNorm(torch.nn.GroupNorm):
    def __init__(
        self,
        num_groups: int | Value,
        num_channels: int | Value,
        eps: float | Value = ...,
        affine: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class Hardshrink(torch.nn.Hardshrink):
    def __init__(
        self,
        lambd: float | Value = ...,
    ) -> None: ...

class Hardsigmoid(torch.nn.Hardsigmoid):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class Hardswish(torch.nn.Hardswish):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class Hardtanh(torch.nn.Hardtanh):
    def __init__(
        self,
        min_val: float | Value = ...,
        max_val: float | Value = ...,
        inplace: bool | Value = ...,
        min_value: float | Value | None = ...,
        max_value: float | Value | None = ...,
    ) -> None: ...

class HingeEmbeddingLoss(torch.nn.HingeEmbeddingLoss):
    def __init__(
        self,
        margin: float | Value = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class HuberLoss(torch.nn.HuberLoss):
    def __init__(
        self,
        reduction: str | Value = ...,
        delta: float | Value = ...,
    ) -> None: ...

class Identity(torch.nn.Identity):
    def __init__(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

class InstanceNorm1d(torch.nn.InstanceNorm1d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class InstanceNorm2d(torch.nn.InstanceNorm2d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class InstanceNorm3d(torch.nn.InstanceNorm3d):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class KLDivLoss(torch.nn.KLDivLoss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
        log_target: bool | Value = ...,
    ) -> None: ...

class L1Loss(torch.nn.L1Loss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class LPPool1d(torch.nn.LPPool1d):
    def __init__(
        self,
        norm_type: float | Value,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class LPPool2d(torch.nn.LPPool2d):
    def __init__(
        self,
        norm_type: float | Value,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class LPPool3d(torch.nn.LPPool3d):
    def __init__(
        self,
        norm_type: float | Value,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class LSTM(torch.nn.LSTM):
    def __init__(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

class LSTMCell(torch.nn.LSTMCell):
    def __init__(
        self,
        input_size: int | Value,
        hidden_size: int | Value,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class LayerNorm(torch.nn.LayerNorm):
    def __init__(
        self,
        normalized_shape: int | Sequence[int | Value] | torch.Size | Value,
        eps: float | Value = ...,
        elementwise_affine: bool | Value = ...,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class LeakyReLU(torch.nn.LeakyReLU):
    def __init__(
        self,
        negative_slope: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class Linear(torch.nn.Linear):
    def __init__(
        self,
        in_features: int | Value,
        out_features: int | Value,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class LinearCrossEntropyLoss(torch.nn.LinearCrossEntropyLoss):
    def __init__(
        self,
        in_features: int | Value,
        num_classes: int | Value,
        *,
        out_features: tuple[int | Value, ...] | Value = ...,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
        reduction: str | Value = ...,
        weight: Tensor | None = ...,
        ignore_index: int | Value | None = ...,
        label_smoothing: float | Value = ...,
        options: torch.nn.LinearCrossEntropyOptions | None = ...,
    ) -> None: ...

class LocalResponseNorm(torch.nn.LocalResponseNorm):
    def __init__(
        self,
        size: int | Value,
        alpha: float | Value = ...,
        beta: float | Value = ...,
        k: float | Value = ...,
    ) -> None: ...

class LogSigmoid(torch.nn.LogSigmoid): ...

class LogSoftmax(torch.nn.LogSoftmax):
    def __init__(
        self,
        dim: int | Value | None = ...,
    ) -> None: ...

class MSELoss(torch.nn.MSELoss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class MarginRankingLoss(torch.nn.MarginRankingLoss):
    def __init__(
        self,
        margin: float | Value = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class MaxPool1d(torch.nn.MaxPool1d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        padding: int | tuple[int | Value, ...] | Value = ...,
        dilation: int | tuple[int | Value, ...] | Value = ...,
        return_indices: bool | Value = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class MaxPool2d(torch.nn.MaxPool2d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        padding: int | tuple[int | Value, ...] | Value = ...,
        dilation: int | tuple[int | Value, ...] | Value = ...,
        return_indices: bool | Value = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class MaxPool3d(torch.nn.MaxPool3d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, ...] | Value,
        stride: int | tuple[int | Value, ...] | Value | None = ...,
        padding: int | tuple[int | Value, ...] | Value = ...,
        dilation: int | tuple[int | Value, ...] | Value = ...,
        return_indices: bool | Value = ...,
        ceil_mode: bool | Value = ...,
    ) -> None: ...

class MaxUnpool1d(torch.nn.MaxUnpool1d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value] | Value,
        stride: int | tuple[int | Value] | Value | None = ...,
        padding: int | tuple[int | Value] | Value = ...,
    ) -> None: ...

class MaxUnpool2d(torch.nn.MaxUnpool2d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value] | Value | None = ...,
        padding: int | tuple[int | Value, int | Value] | Value = ...,
    ) -> None: ...

class MaxUnpool3d(torch.nn.MaxUnpool3d):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, int | Value, int | Value] | Value,
        stride: int | tuple[int | Value, int | Value, int | Value] | Value | None = ...,
        padding: int | tuple[int | Value, int | Value, int | Value] | Value = ...,
    ) -> None: ...

class Mish(torch.nn.Mish):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class MultiLabelMarginLoss(torch.nn.MultiLabelMarginLoss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class MultiLabelSoftMarginLoss(torch.nn.MultiLabelSoftMarginLoss):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class MultiMarginLoss(torch.nn.MultiMarginLoss):
    def __init__(
        self,
        p: int | Value = ...,
        margin: float | Value = ...,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class MultiheadAttention(torch.nn.MultiheadAttention):
    def __init__(
        self,
        embed_dim: Any,
        num_heads: Any,
        dropout: float | Value = ...,
        bias: bool | Value = ...,
        add_bias_kv: bool | Value = ...,
        add_zero_attn: bool | Value = ...,
        kdim: Any = ...,
        vdim: Any = ...,
        batch_first: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class NLLLoss(torch.nn.NLLLoss):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        ignore_index: int | Value = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class NLLLoss2d(torch.nn.NLLLoss2d):
    def __init__(
        self,
        weight: Tensor | None = ...,
        size_average: Any = ...,
        ignore_index: int | Value = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class PReLU(torch.nn.PReLU):
    def __init__(
        self,
        num_parameters: int | Value = ...,
        init: float | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class PairwiseDistance(torch.nn.PairwiseDistance):
    def __init__(
        self,
        p: float | Value = ...,
        eps: float | Value = ...,
        keepdim: bool | Value = ...,
    ) -> None: ...

class PixelShuffle(torch.nn.PixelShuffle):
    def __init__(
        self,
        upscale_factor: int | Value,
    ) -> None: ...

class PixelUnshuffle(torch.nn.PixelUnshuffle):
    def __init__(
        self,
        downscale_factor: int | Value,
    ) -> None: ...

class PoissonNLLLoss(torch.nn.PoissonNLLLoss):
    def __init__(
        self,
        log_input: bool | Value = ...,
        full: bool | Value = ...,
        size_average: Any = ...,
        eps: float | Value = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class RMSNorm(torch.nn.RMSNorm):
    def __init__(
        self,
        normalized_shape: int | Sequence[int | Value] | torch.Size | Value,
        eps: float | Value | None = ...,
        elementwise_affine: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class RNN(torch.nn.RNN):
    def __init__(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> None: ...

class RNNBase(torch.nn.RNNBase):
    def __init__(
        self,
        mode: str | Value,
        input_size: int | Value,
        hidden_size: int | Value,
        num_layers: int | Value = ...,
        bias: bool | Value = ...,
        batch_first: bool | Value = ...,
        dropout: float | Value = ...,
        bidirectional: bool | Value = ...,
        proj_size: int | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class RNNCell(torch.nn.RNNCell):
    def __init__(
        self,
        input_size: int | Value,
        hidden_size: int | Value,
        bias: bool | Value = ...,
        nonlinearity: str | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class RNNCellBase(torch.nn.RNNCellBase):
    def __init__(
        self,
        input_size: int | Value,
        hidden_size: int | Value,
        bias: bool | Value,
        num_chunks: int | Value,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class RReLU(torch.nn.RReLU):
    def __init__(
        self,
        lower: float | Value = ...,
        upper: float | Value = ...,
        inplace: bool | Value = ...,
    ) -> None: ...

class ReLU(torch.nn.ReLU):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class ReLU6(torch.nn.ReLU6):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class ReflectionPad1d(torch.nn.ReflectionPad1d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value] | Value,
    ) -> None: ...

class ReflectionPad2d(torch.nn.ReflectionPad2d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class ReflectionPad3d(torch.nn.ReflectionPad3d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class ReplicationPad1d(torch.nn.ReplicationPad1d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value] | Value,
    ) -> None: ...

class ReplicationPad2d(torch.nn.ReplicationPad2d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class ReplicationPad3d(torch.nn.ReplicationPad3d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class SELU(torch.nn.SELU):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class SiLU(torch.nn.SiLU):
    def __init__(
        self,
        inplace: bool | Value = ...,
    ) -> None: ...

class Sigmoid(torch.nn.Sigmoid): ...

class SmoothL1Loss(torch.nn.SmoothL1Loss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
        beta: float | Value = ...,
    ) -> None: ...

class SoftMarginLoss(torch.nn.SoftMarginLoss):
    def __init__(
        self,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class Softmax(torch.nn.Softmax):
    def __init__(
        self,
        dim: int | Value | None = ...,
    ) -> None: ...

class Softmax2d(torch.nn.Softmax2d): ...

class Softmin(torch.nn.Softmin):
    def __init__(
        self,
        dim: int | Value | None = ...,
    ) -> None: ...

class Softplus(torch.nn.Softplus):
    def __init__(
        self,
        beta: float | Value = ...,
        threshold: float | Value = ...,
    ) -> None: ...

class Softshrink(torch.nn.Softshrink):
    def __init__(
        self,
        lambd: float | Value = ...,
    ) -> None: ...

class Softsign(torch.nn.Softsign): ...

class SyncBatchNorm(torch.nn.SyncBatchNorm):
    def __init__(
        self,
        num_features: int | Value,
        eps: float | Value = ...,
        momentum: float | Value | None = ...,
        affine: bool | Value = ...,
        track_running_stats: bool | Value = ...,
        process_group: Any | None = ...,
        device: Any = ...,
        dtype: Any = ...,
        *,
        bias: bool | Value = ...,
    ) -> None: ...

class Tanh(torch.nn.Tanh): ...

class Tanhshrink(torch.nn.Tanhshrink): ...

class Threshold(torch.nn.Threshold):
    def __init__(
        self,
        threshold: float | Value,
        value: float | Value,
        inplace: bool | Value = ...,
    ) -> None: ...

class Transformer(torch.nn.Transformer):
    def __init__(
        self,
        d_model: int | Value = ...,
        nhead: int | Value = ...,
        num_encoder_layers: int | Value = ...,
        num_decoder_layers: int | Value = ...,
        dim_feedforward: int | Value = ...,
        dropout: float | Value = ...,
        activation: str | Callable[..., Any] | Value = ...,
        custom_encoder: Any | None = ...,
        custom_decoder: Any | None = ...,
        layer_norm_eps: float | Value = ...,
        batch_first: bool | Value = ...,
        norm_first: bool | Value = ...,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class TransformerDecoder(torch.nn.TransformerDecoder):
    def __init__(
        self,
        decoder_layer: torch.nn.TransformerDecoderLayer,
        num_layers: int | Value,
        norm: torch.nn.Module | None = ...,
    ) -> None: ...

class TransformerDecoderLayer(torch.nn.TransformerDecoderLayer):
    def __init__(
        self,
        d_model: int | Value,
        nhead: int | Value,
        dim_feedforward: int | Value = ...,
        dropout: float | Value = ...,
        activation: str | Callable[..., Any] | Value = ...,
        layer_norm_eps: float | Value = ...,
        batch_first: bool | Value = ...,
        norm_first: bool | Value = ...,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class TransformerEncoder(torch.nn.TransformerEncoder):
    def __init__(
        self,
        encoder_layer: torch.nn.TransformerEncoderLayer,
        num_layers: int | Value,
        norm: torch.nn.Module | None = ...,
        enable_nested_tensor: bool | Value = ...,
        mask_check: bool | Value = ...,
    ) -> None: ...

class TransformerEncoderLayer(torch.nn.TransformerEncoderLayer):
    def __init__(
        self,
        d_model: int | Value,
        nhead: int | Value,
        dim_feedforward: int | Value = ...,
        dropout: float | Value = ...,
        activation: str | Callable[..., Any] | Value = ...,
        layer_norm_eps: float | Value = ...,
        batch_first: bool | Value = ...,
        norm_first: bool | Value = ...,
        bias: bool | Value = ...,
        device: Any = ...,
        dtype: Any = ...,
    ) -> None: ...

class TripletMarginLoss(torch.nn.TripletMarginLoss):
    def __init__(
        self,
        margin: float | Value = ...,
        p: float | Value = ...,
        eps: float | Value = ...,
        swap: bool | Value = ...,
        size_average: Any = ...,
        reduce: Any = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class TripletMarginWithDistanceLoss(torch.nn.TripletMarginWithDistanceLoss):
    def __init__(
        self,
        *,
        distance_function: Callable[..., Any] | None = ...,
        margin: float | Value = ...,
        swap: bool | Value = ...,
        reduction: str | Value = ...,
    ) -> None: ...

class Unflatten(torch.nn.Unflatten):
    def __init__(
        self,
        dim: int | Value,
        unflattened_size: torch.Size | Sequence[int | Value] | tuple[int | Value, ...] | Value,
    ) -> None: ...

class Unfold(torch.nn.Unfold):
    def __init__(
        self,
        kernel_size: int | tuple[int | Value, ...] | Value,
        dilation: int | tuple[int | Value, ...] | Value = ...,
        padding: int | tuple[int | Value, ...] | Value = ...,
        stride: int | tuple[int | Value, ...] | Value = ...,
    ) -> None: ...

class Upsample(torch.nn.Upsample):
    def __init__(
        self,
        size: int | tuple[int | Value, ...] | Value | None = ...,
        scale_factor: float | tuple[float | Value, ...] | Value | None = ...,
        mode: str | Value = ...,
        align_corners: bool | Value | None = ...,
        recompute_scale_factor: bool | Value | None = ...,
    ) -> None: ...

class UpsamplingBilinear2d(torch.nn.UpsamplingBilinear2d):
    def __init__(
        self,
        size: int | tuple[int | Value, int | Value] | Value | None = ...,
        scale_factor: float | tuple[float | Value, float | Value] | Value | None = ...,
    ) -> None: ...

class UpsamplingNearest2d(torch.nn.UpsamplingNearest2d):
    def __init__(
        self,
        size: int | tuple[int | Value, int | Value] | Value | None = ...,
        scale_factor: float | tuple[float | Value, float | Value] | Value | None = ...,
    ) -> None: ...

class ZeroPad1d(torch.nn.ZeroPad1d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value] | Value,
    ) -> None: ...

class ZeroPad2d(torch.nn.ZeroPad2d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...

class ZeroPad3d(torch.nn.ZeroPad3d):
    def __init__(
        self,
        padding: int | tuple[int | Value, int | Value, int | Value, int | Value, int | Value, int | Value] | Value,
    ) -> None: ...
