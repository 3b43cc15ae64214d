"""Records and rules of the field: pure, immutable, standard library and numpy only.

identifiers -> grid -> study -> contract -> job -> finding -> parcel
"""
