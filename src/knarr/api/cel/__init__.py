"""The Common Expression Language as Kubernetes has it.

``Environment`` compiles expressions, ``Program`` evaluates them. The steps, each a module: ``lexer`` -> ``parser`` (with ``token_stream`` and ``macros``) ->
``checker`` -> ``compiler`` (with ``calls`` and ``loops``); ``library`` holds the functions. ``limits`` bounds what an expression may cost.

Nothing here is imported before the first expression is met. Why this is our own and no library: see ARCHITECTURE.md.
"""
