"""The networks without their heads: one module a family, each with the same two functions.

``build(channels, **options)`` gives the feature map of scaled channels. ``read_weights(source, **options)`` gives pretrained
weights by layer name, as for three colour channels, from a file or, for the source "imagenet", from the publisher's download;
it raises OSError, ValueError or KeyError where the source does not hold them. ``applications`` wraps the networks of Keras.
"""
