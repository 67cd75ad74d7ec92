"""The weight of a linear as numbers, quantized or not, and where its scales lie. The linear stays as it is."""

from typing import Any

import torch

from edge_es.errors import ConfigError


def weight_of(linear: Any, dtype: torch.dtype) -> torch.Tensor:
    """(out, in); dequantized where bitsandbytes holds it."""
    state = getattr(linear.weight, "quant_state", None)
    if state is not None:
        from bitsandbytes.functional import dequantize_4bit

        weight: torch.Tensor = dequantize_4bit(linear.weight.data, state).to(dtype)
        return weight
    scales = _int8_scales(linear)
    if scales is not None:
        return (linear.weight.data.float() * (scales[:, None] / 127.0)).to(dtype)
    plain: torch.Tensor = linear.weight.data.to(dtype)
    return plain


def scale_blocks(linear: Any) -> tuple[int, int]:
    """(scales, consecutive weights under each) of a quantized linear. Raises ConfigError for one that is not, and
    where the weights are no multiple of the block."""
    out, width = linear.out_features, linear.in_features
    state = getattr(linear.weight, "quant_state", None)
    if state is not None:
        block = int(state.blocksize)
        if out * width % block:
            raise ConfigError(
                f"configuration key search.space: 'scales' needs linears whose weights are a multiple of {block}; "
                f"this model has one of {out} x {width}; take another space"
            )
        return out * width // block, block
    if _int8_scales(linear) is None:
        raise ConfigError(
            "configuration key search.space: 'scales' moves the scales of a quantized model; set model.quantization "
            "to 'nf4' or 'int8', or take another space"
        )
    return out, width


def _int8_scales(linear: Any) -> torch.Tensor | None:
    scales: torch.Tensor | None = getattr(linear.weight, "SCB", None)
    if scales is None:  # bitsandbytes moves it at the first forward
        scales = getattr(getattr(linear, "state", None), "SCB", None)
    return scales
