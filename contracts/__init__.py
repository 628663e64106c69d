"""The vocabulary of xsys: pydantic models, typed refusals and service protocols.

Nothing here knows torch, SQL or HTTP, and nothing here imports another package of ours.
"""
