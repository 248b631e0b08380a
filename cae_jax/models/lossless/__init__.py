"""Lossless coding of images: half-resolution phases, a linear stage, small exact networks.

    image ──► levels of four phases (`phases`) ──► linear prediction fitted to the image (`linear`)
                                                             │
    bits ◄── rANS ◄── tables by scale, fraction, shape ◄── mean, scale, shape (`network`)
                           (`distribution`)

All that a decoder repeats is made of integers, or of float32 and float64 that hold them exactly.
"""
