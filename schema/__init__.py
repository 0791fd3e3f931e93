"""What the data must look like, and the names and errors that every other package shares.

This package is the floor of the house: everything else imports it, it imports nothing of Seamline.
Constants, plain functions over names and schema protos, and `UserError` belong here. Nothing that
reads pictures, trains, or talks to a server does.
"""
