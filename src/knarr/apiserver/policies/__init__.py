"""Admission policies: expressions that users wrote, asked of every request they concern.

``activation`` gives expressions their variables and counts what they cost; ``source`` keeps policies with their bindings, compiled;
``validating`` refuses, warns and notes; ``mutating`` changes. All of it is loaded when the first policy, or the first match condition, is met.
"""
