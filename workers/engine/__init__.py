"""The engine: enlarges the image in a file with ncnn and the Real-ESRGAN networks.

It runs in a child process (``python -m workers.engine``) that ``workers/engine_child.py`` starts: a crash or
a hang in a driver costs one attempt of one image and never the worker. ``protocol.py``,
``options.py``, ``report_types.py`` and ``errors.py`` are for both sides; all other modules belong to the child.
"""
