"""Tell from its columns which of the papers' files a CSV file is.

=====================================================  ====================================
columns                                                what
=====================================================  ====================================
``st, end, time, stdev``                               latencies, 2023: all convolutions
                                                       merged
the same and ``breaks``                                the fastest way through each segment,
                                                       2023: one convolution or several
``st, end, ker, str, is_dw, time, stdev``              latencies, LayerMerge
``st, end, st_act, end_act, val_acc, ...``             importance, 2023, as measured
``st, end, st_act, end_act, imp, breaks``              importance, 2023, normalised and
                                                       extended
``st, end, ker, str, is_dw, conv_comb, val_acc, ...``  importance, LayerMerge, as measured
``st, end, ker, str, is_dw, conv_comb, importance``    importance, LayerMerge, normalised
=====================================================  ====================================

Files of their baselines and of diffusion networks are refused by name.
"""

from typing import Literal

from depthopt.errors import ArtefactError
from depthopt.frontier.published.sheet import Sheet

LatencyFormat = Literal["time", "opt_time", "layermerge"]
"""Formats of latency files."""

ImportanceFormat = Literal["raw", "extended", "layermerge raw", "layermerge normalised"]
"""Formats of importance files."""

_SCORES = ("importance", "imp", "val_acc", "val_loss_ratio")

_LATENCY_COLUMNS = "id,st,end,time,stdev or id,st,end,ker,str,is_dw,time,stdev"


def latency_format(sheet: Sheet) -> LatencyFormat:
    """The format of a latency file.

    Raises:
        ArtefactError: none, or one that holds something else, which is named.
    """
    columns = sheet.columns
    _refuse_others(sheet)
    if "time" not in columns and (found := [name for name in _SCORES if name in columns]):
        raise ArtefactError(
            f"{sheet.path} holds importances (column {found[0]}), not latencies; give it as the "
            f"importance file, and as the latency file one with {_LATENCY_COLUMNS}"
        )
    sheet.require("st", "end", "time", "stdev")
    if "ker" in columns:
        if not {"str", "is_dw"} <= columns:
            raise ArtefactError(f"{sheet.path} has a column ker but no str or no is_dw; add them")
        return "layermerge"
    return "opt_time" if "breaks" in columns else "time"


def importance_format(sheet: Sheet) -> ImportanceFormat:
    """The format of an importance file.

    Raises:
        ArtefactError: none, or one that holds something else, which is named.
    """
    columns = sheet.columns
    _refuse_others(sheet)
    if "time" in columns and not columns.intersection(_SCORES):
        raise ArtefactError(
            f"{sheet.path} holds latencies (column time), not importances; give it as the latency "
            "file"
        )
    if "st_act" in columns or "imp" in columns:
        if "imp" in columns:
            sheet.require("st", "end", "st_act", "end_act", "imp", "breaks")
            return "extended"
        sheet.require("st", "end", "st_act", "end_act", "val_acc")
        return "raw"
    if "importance" not in columns and "val_acc" in columns:
        sheet.require("st", "end", "ker", "str", "conv_comb", "val_acc")
        return "layermerge raw"
    sheet.require("st", "end", "ker", "str", "conv_comb", "importance")
    return "layermerge normalised"


def _refuse_others(sheet: Sheet) -> None:
    if "index" in sheet.columns and "st" not in sheet.columns:
        raise ArtefactError(
            f"{sheet.path} holds one row per layer (column index): it belongs to LayerMerge's "
            "baseline that only leaves layers out; give the files with columns st and end"
        )
    if "val_loss_ratio" in sheet.columns:
        raise ArtefactError(
            f"{sheet.path} holds importances of a diffusion network (column val_loss_ratio), whose "
            "networks depthopt does not extract; give those of a classifier, with val_acc"
        )
