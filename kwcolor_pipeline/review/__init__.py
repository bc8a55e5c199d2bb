"""`kwcolor review`: a page on which a person decides about photographs that the rules are unsure of."""
