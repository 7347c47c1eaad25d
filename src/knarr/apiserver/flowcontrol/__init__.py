"""Priority and fairness: who waits when there is too much to do.

``classify`` finds a request's flow schema, ``levels`` holds seats and queues, ``controller`` puts both together and follows the API's
objects, ``defaults`` lists those every cluster has. Upstream's counterpart is ``apiserver/pkg/util/flowcontrol``.
"""
