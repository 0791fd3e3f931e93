"""What earlier runs left for later ones: which data passed, what was blessed, what went live.

A ledger is a folder of small JSON files beside a workspace's artifacts, written once and never
changed: `<kind>/<time>-<token>.json`. It holds URIs and fingerprints, no ids of ML Metadata's, so
that it means the same to whatever runs the pipeline, and survives its database. Whoever runs the
steps notes what DataGate, Judge and Pusher have ended with; whoever starts a run looks up what that
run is compared with, and starts from.

`ledger` has the entries and the look-ups, `recording` knows which step leaves which. What artifacts
contain, and any judgement of them, does not belong here.
"""
