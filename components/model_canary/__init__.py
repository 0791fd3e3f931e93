"""The canary: a candidate model must answer real questions as production asks them to go live.

First through TensorFlow's C++ loader, which is TensorFlow Serving's, then from a real server. Emits
the `InfraBlessing` that Pusher asks for. What makes an answer right mechanically (it arrives, it is
a probability, it is the model's own) belongs here; whether it is right about the picture is the
Evaluator's to judge.
"""
