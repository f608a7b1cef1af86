"""What a Helix needs of its surroundings, and how its partitions stand: looked at, judged, said with what to mend.

One rule: what was not seen is not called good. Web and worker ask `check_log` at their start; `helix doctor` asks everything.
"""

from app.doctor.servers import check_log

__all__ = ["check_log"]
