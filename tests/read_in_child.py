"""Reads a clip in a child process; imports little, since a spawned child imports this module."""

import pickle

import numpy as np


def read_in_child(clips, queue):
    queue.put(pickle.dumps({key: np.asarray(value) for key, value in clips[3].items()}))
