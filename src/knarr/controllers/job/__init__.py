"""Jobs: pods that run to an end, so many at a time, until enough have succeeded.

``indexes`` reads and writes ranges of completion indexes, ``policy`` judges failures, ``progress`` counts and
decides, ``controller`` does it.
``cronjob`` makes Jobs by the clock, ``ttl`` removes finished ones.
"""
