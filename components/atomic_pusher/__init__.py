"""The push: a blessed model becomes the next version in the serving folder, whole or not at all.

Which model may be pushed is the Evaluator's and the canary's to say; nothing here judges one.
`versions` also goes back to an earlier version and removes the oldest, and can be used without TFX,
beside a running pipeline and running servers.
"""
