"""Datasets as files: photos, Pascal VOC beside them, tables and records.

NumPy, Pillow, lxml and the standard library only, on Python 3.9 and later, so that every
environment can use it.
"""
