{"uwsgi": {"plain-js": "1"}}
