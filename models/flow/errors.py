"""This module defines the error after which a pipeline may use another flow method."""

from __future__ import annotations

from foveal.errors import FovealError


class FlowDeviceError(FovealError):
    """The device for flow is absent, lost, or has no memory for one pair of frames.

    The call has no result. The recipe's ``fallback`` decides what happens next.
    """
