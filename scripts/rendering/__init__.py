"""Photos of small hardware by a real renderer, with exact boxes.

``hardware``, ``placement``, ``plan``, ``rooms`` and ``phone`` are NumPy only; ``nodes``,
``surfaces``, ``clutter`` and ``scene`` need Blender's ``bpy``. One scene unit is one centimetre.
"""
