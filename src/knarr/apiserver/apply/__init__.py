"""Server-side apply: who owns which field, and what becomes of an object when one owner changes its mind.

``fieldsets`` are sets of field paths and how they are written, ``merging`` does the arithmetic on objects,
``managers`` reads and writes ``managedFields``, ``applying`` brings them together, ``scaling`` tells whose a size is when it
is changed through a scale.

Ownership is recorded from an object's first apply on: what stands there by then belongs to the manager
``before-first-apply``, as upstream has it for
objects it did not track. Objects that are never applied server-side carry no ``managedFields``, which keeps
ordinary writes cheap.
"""
