"""Colour as numbers: CIELAB, the sRGB gamut, colour difference, colourfulness. Files are not known here."""
