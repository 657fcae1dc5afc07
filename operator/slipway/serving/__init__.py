"""Deployment -> workloads, Services, HTTPRoute."""
