"""The networks and how they are kept: encoders, generator, critic, model bundles, devices.

How they are trained is not here.
"""
