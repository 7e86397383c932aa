"""From a photo to detections, the same way on every device.

NumPy and Pillow only, on Python 3.9 and later: each environment imports this package, and each
runtime under ``runtimes/`` adds nothing but the call into its network. ``metrics`` is the
exception, used where pycocotools is.
"""
