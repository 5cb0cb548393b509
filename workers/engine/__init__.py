"""The engine: turns one picture file into a larger one, with ncnn and the Real-ESRGAN networks.

It runs in a child process of its own (``python -m workers.engine``), started and fed by
``workers/engine_child.py``: a crash or a hang in a driver costs one attempt of one image, never the worker.
Only ``protocol.py`` and ``errors.py`` are for both sides; everything else belongs to the child.
"""
