"""The controllers: each watches what is and what is wanted, and makes a few writes that bring the two
together.
"""
