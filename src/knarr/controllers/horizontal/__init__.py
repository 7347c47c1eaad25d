"""HorizontalPodAutoscalers: as many replicas as their metrics ask for.

``replicas`` turns metrics into a number, ``scaling`` keeps that number from jumping, both pure; ``metrics`` asks the metrics APIs,
``targets`` reads and writes scales, ``evaluation`` takes the metrics of one autoscaler one by one, ``controller`` does the rounds.

Upstream's counterpart is ``pkg/controller/podautoscaler``.
"""
