"""The one error of flow estimation that a pipeline may answer with another method."""

from __future__ import annotations

from foveal.errors import FovealError


class FlowDeviceError(FovealError):
    """The device for flow is absent, lost, or out of memory even for one pair of frames.

    Nothing of the call's result exists. A build's ``fallback`` policy decides what follows.
    """
