"""The seam to whoever provides machines and addresses: a cloud, or (``local``) this machine."""
