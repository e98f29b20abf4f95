"""What clients ask for: bodies, checked field by field into frozen structs.

An unknown or unsupported parameter is refused by its name; null, or the value that means "off", is accepted.
"""
