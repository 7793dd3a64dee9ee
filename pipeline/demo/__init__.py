"""The demo dataset: a miniature of DHF1K whose optical flow and fixation targets are known exactly.

`write_demo` writes it. Its parts also make other small videos with known truth: `natural_scene`
draws a scene from a seed, `render_scene` gives its frames and true motion, `encode_video` turns
frames into a file.
"""

from __future__ import annotations

from foveal.pipeline.demo.natural import natural_scene
from foveal.pipeline.demo.scene import Layer, Motion, RenderedFrame, Scene, render_scene
from foveal.pipeline.demo.truth import TrueFlow, TrueGaze, load_true_flow, load_true_gaze
from foveal.pipeline.demo.write import CLIPS, DemoClip, write_demo
from foveal.pipeline.video.encode import encode_video

__all__ = [
    "CLIPS",
    "DemoClip",
    "Layer",
    "Motion",
    "RenderedFrame",
    "Scene",
    "TrueFlow",
    "TrueGaze",
    "encode_video",
    "load_true_flow",
    "load_true_gaze",
    "natural_scene",
    "render_scene",
    "write_demo",
]
