"""The API group admission.k8s.io: what the API server sends to webhooks and gets back."""
