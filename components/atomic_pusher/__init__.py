"""The push: a blessed model becomes the next version in the serving folder, whole or not at all.

Used as `Pusher(..., custom_executor_spec=ExecutorClassSpec(AtomicPusherExecutor))`. Which model
may be pushed is the Evaluator's and the canary's to say; nothing here judges one.
"""
