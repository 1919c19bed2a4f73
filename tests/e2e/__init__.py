"""Real processes: an Emperor of our own, puppets and real uwsgi as its vassals."""
