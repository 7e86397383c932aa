"""Detecting in what moves: video files, cameras, streams. Parses on Python 3.9.

``source`` opens and decodes, and is the one place that knows PyAV; ``watch`` detects, frame after
frame.
"""
