"""A real one-node Kubernetes for a machine without Docker, and the images that run on it.

Standard library only: this code runs before any virtual environment exists, and makes that environment.
The facts behind each setting were measured; where a setting looks odd, the comment beside it says why.
"""
