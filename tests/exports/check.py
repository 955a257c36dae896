"""Exports random results with `facereel export`, and reads the files with the programs of others: Python's csv, OpenTimelineIO with its
adapters for CMX 3600 and FCPXML, and an XML parser. What the files must contain is computed here from the tracks, without the code of
facereel. Writes the WebVTT files and their expected cues for check.mjs.

    check.py FACEREEL DIR [SEED ...]
"""

import csv
import io
import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio

KEY = 'in/=1+1, "día" <a&b> --> |M:x.mp4'
NAME = KEY.split("/")[-1]
# The track of a face without a box.
NO_TRACK = -1
# The frame rate as Rekognition reports it, the timeline's rate, and the start of the timeline for an EDL.
RATES = [
    (23.976, Fraction(24000, 1001), "01:00:00:00"),
    (24.0, Fraction(24), "00:00:00:00"),
    (25.0, Fraction(25), "10:00:00:00"),
    (29.97003, Fraction(30000, 1001), "01:00:00;00"),
    (29.97003, Fraction(30000, 1001), "01:00:00:00"),
    (59.94, Fraction(60000, 1001), "00:00:00;00"),
    (15.0, Fraction(30), "01:00:00:00"),
    (60.0, Fraction(60), "01:00:00:00"),
]


def main():
    facereel, folder, *seeds = sys.argv[1:]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    expected, tracks, faces = [], 0, 0
    for seed in map(int, seeds or range(len(RATES))):
        result = Result(seed)
        result.write(folder / f"result-{seed}")
        check = Check(facereel, folder, result)
        check.csv()
        check.edl()
        check.otio()
        check.fcpxml()
        expected += check.vtt()
        tracks += len(result.tracks)
        faces += len(result.faces)
    (folder / "expected.json").write_text(json.dumps(expected))
    print(f"CSV, EDL, OTIO, FCPXML: {tracks} tracks, {faces} detections")


class Result:
    """A result with tracks that begin and end anywhere, often several at one moment, and some in parts."""

    def __init__(self, seed):
        self.seed = seed
        self.random = random.Random(seed)
        self.reported_rate, self.rate, self.start = RATES[seed % len(RATES)]
        moments = [number * 500 + (20 if number % 2 else 0) for number in range(1300)]
        self.duration_ms = moments[-1] + 100
        starts = sorted(self.random.choice(moments[::7]) for _ in range(60))
        self.tracks = []
        for number, start in enumerate(starts):
            length = 1250 if number == 0 else self.random.choice([1, 1, 2, 5, 40])
            seen = [ms for ms in moments if ms >= start][:length]
            self.tracks.append([ms for index, ms in enumerate(seen) if index in (0, len(seen) - 1) or self.random.random() < 0.9])
        # A line for each face: the time, and the track.
        faces = [(ms, id) for id, times in enumerate(self.tracks) for ms in times]
        faces += [(self.random.choice(moments), NO_TRACK) for _ in range(10)]
        self.random.shuffle(faces)
        self.faces = sorted(faces, key=lambda face: face[0])
        self.lines = {}
        for line, (ms, id) in enumerate(self.faces):
            self.lines.setdefault(id, []).append((ms, line))

    def moments(self):
        """The lines of each moment."""
        moments = {}
        for line, (ms, _) in enumerate(self.faces):
            moments.setdefault(ms, []).append(line)
        return moments

    def box(self, line):
        return [round(line % 80 / 100, 2), 0.25, 0.125, 0.5]

    def write(self, folder):
        video = {"bucket": "uploads", "key": KEY, "etag": "e", "bytes": 123}
        job = {"job_id": "j", "idempotency_key": "i", "attempt": 0, "face_attributes": "DEFAULT"}
        details = []
        for line, (ms, id) in enumerate(self.faces):
            left, top, width, height = self.box(line)
            # A face without a box belongs to no track.
            box = {} if id == NO_TRACK else {"BoundingBox": {"Left": left, "Top": top, "Width": width, "Height": height}}
            details.append({"Timestamp": ms, "Face": {**box, "Confidence": 90.5}})
        pages = [details[start : start + 1000] for start in range(0, len(details), 1000)]
        parts = []
        for id, lines in self.lines.items():
            if id != NO_TRACK:
                pieces = [lines[start : start + 400] for start in range(0, len(lines), 400)]
                parts += [self.part(id, number, piece, number + 1 < len(pieces)) for number, piece in enumerate(pieces)]
        parts.sort(key=lambda part: part["last_ms"])
        objects = [parts[start : start + 13] for start in range(0, len(parts), 13)]
        object_of = lambda lines: {"key": "k", "bytes": 1, "lines": len(lines), "first_ms": 0, "last_ms": 0}
        manifest = {
            "video": video, "job": job, "execution_arn": "arn", "faces": len(self.faces),
            "summary": {"key": "s", "bytes": 1}, "report": {"key": "r", "bytes": 1},
            "pages": [{"key": "k", "bytes": 1, "faces": len(page), "first_ms": page[0]["Timestamp"], "last_ms": page[-1]["Timestamp"]} for page in pages],
            "tracks": [object_of(lines) for lines in objects],
        }
        metadata = {"duration_ms": self.duration_ms, "frame_rate": self.reported_rate, "frame_width": 1920, "frame_height": 1080}
        summary = {
            "video": video, "metadata": metadata, "job": job, "faces": len(self.faces), "tracks": len(self.tracks),
            "frames_with_faces": len(self.moments()), "most_faces": None, "timeline": [],
        }
        files = {"manifest.json": [manifest], "summary.json": [summary]}
        files.update({f"faces/{number:05}.jsonl": page for number, page in enumerate(pages)})
        files.update({f"tracks/{number:05}.jsonl": lines for number, lines in enumerate(objects)})
        for name, lines in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def part(self, id, number, lines, continues):
        times, faces = [ms for ms, _ in lines], [line for _, line in lines]
        boxes = [self.box(line) for line in faces]
        best = {"timestamp_ms": times[0], "face": faces[0], "box": boxes[0]}
        return {
            "id": id, "part": number, "continues": continues, "first_ms": times[0], "last_ms": times[-1], "detections": len(lines),
            "mean_confidence": 90.5, "best": best, "timestamps_ms": times, "faces": faces, "boxes": boxes,
        }

    def frame(self, ms):
        """The nearest frame."""
        return int(ms * self.rate / 1000 + Fraction(1, 2))

    def markers(self):
        """The first frame, the number of frames and the ids of the tracks of each marker: one for the tracks of one frame."""
        groups = {}
        for id, times in enumerate(self.tracks):
            groups.setdefault(self.frame(times[0]), []).append(id)
        return [(frame, max(self.frame(self.tracks[id][-1]) for id in ids) - frame + 1, ids) for frame, ids in groups.items()]

    def moment_markers(self):
        return [(self.frame(ms), 1, len(lines)) for ms, lines in self.moments().items()]


class Check:
    def __init__(self, facereel, folder, result):
        self.facereel, self.folder, self.result = facereel, folder, result

    def export(self, to, of, *options):
        command = [self.facereel, "export", str(self.folder / f"result-{self.result.seed}"), "--to", to, "--of", of, "--quiet", *options]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode("utf-8")

    def csv(self):
        rows = list(csv.DictReader(io.StringIO(self.export("csv", "tracks"), newline=""), strict=True))
        times = [(row["video"], int(row["track"]), int(row["first_ms"]), int(row["last_ms"]), int(row["detections"])) for row in rows]
        equal(times, [(KEY, id, track[0], track[-1], len(track)) for id, track in enumerate(self.result.tracks)])
        rows = list(csv.DictReader(io.StringIO(self.export("csv", "detections"), newline=""), strict=True))
        faces = [(int(row["timestamp_ms"]), int(row["face"]), row["track"], row["left_ratio"]) for row in rows]
        left = lambda line, id: "" if id == NO_TRACK else str(self.result.box(line)[0])
        id_or_empty = lambda id: "" if id == NO_TRACK else str(id)
        equal(faces, [(ms, line, id_or_empty(id), left(line, id)) for line, (ms, id) in enumerate(self.result.faces)])

    def edl(self):
        rate, start = self.result.rate, self.result.start
        first = otio.opentime.from_timecode(start, float(rate)).to_frames()
        for of, markers in (("tracks", self.result.markers()), ("detections", self.result.moment_markers())):
            text = self.export("edl", of, "--start-timecode", start)
            assert text.isascii() and all(line.endswith("\r") for line in text.split("\n")[:-1])
            assert f"FCM: {'DROP' if ';' in start else 'NON-DROP'} FRAME\r\n" in text
            timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=float(rate))
            events = list(timeline.find_clips())
            equal([event.source_range.start_time.to_frames() - first for event in events], [frame for frame, _, _ in markers])
            notes = [event.metadata["cmx_3600"]["comments"][0] for event in events]
            durations = [int(re.fullmatch(r".*\|C:ResolveColorGreen \|M:[^|]+ \|D:(\d+)", note)[1]) for note in notes]
            equal(durations, [frames for _, frames, _ in markers])

    def otio(self):
        rate = float(self.result.rate)
        for of, markers in (("tracks", self.result.markers()), ("detections", self.result.moment_markers())):
            timeline = otio.adapters.read_from_string(self.export("otio", of), "otio_json")
            [clip] = timeline.find_clips()
            equal(clip.name, NAME)
            equal(clip.available_range().duration.rate, rate)
            ranges = [marker.marked_range for marker in clip.markers]
            equal([(one.start_time.to_frames(), one.duration.to_frames()) for one in ranges], [(frame, frames) for frame, frames, _ in markers])
            end = clip.available_range().duration.to_frames()
            equal([marker for marker in markers if marker[0] + marker[1] > end], [])
            data = [marker.metadata["facereel"] for marker in clip.markers]
            if of == "tracks":
                equal([[track["id"] for track in one["tracks"]] for one in data], [ids for _, _, ids in markers])
            else:
                equal([len(one["faces"]) for one in data], [faces for _, _, faces in markers])

    def fcpxml(self):
        seconds = lambda text: Fraction(text.removesuffix("s"))
        for of, markers in (("tracks", self.result.markers()), ("detections", self.result.moment_markers())):
            text = self.export("fcpxml", of)
            root = ElementTree.fromstring(text)
            equal(root.find("resources/asset").get("name"), NAME)
            frame = seconds(root.find("resources/format").get("frameDuration"))
            equal(frame, 1 / self.result.rate)
            found = root.findall("library/event/project/sequence/spine/asset-clip/marker")
            read = [(seconds(marker.get("start")) / frame, seconds(marker.get("duration")) / frame) for marker in found]
            equal(read, [(first, frames) for first, frames, _ in markers])
            # The adapter reads 29.97 as 29.
            if self.result.rate.denominator == 1:
                [timeline] = otio.adapters.read_from_string(text, "fcpx_xml").find_children(descended_from_type=otio.schema.Timeline)
                [clip] = timeline.find_clips()
                starts = [marker.marked_range.start_time.to_frames() for marker in clip.markers]
                equal(starts, [first for first, _, _ in markers])

    def vtt(self):
        """Exports the cues, and returns what they must be."""
        result, files = self.result, []
        end = lambda start, end: max(start + 1, min(end, result.duration_ms))
        cues = [[f"track-{id}", times[0], end(times[0], times[-1] + 500), f"Face track {id}"] for id, times in enumerate(result.tracks)]
        files.append(("tracks", "subtitles", cues))
        moments, cues = list(result.moments().items()), []
        for index, (ms, lines) in enumerate(moments):
            following = moments[index + 1][0] if index + 1 < len(moments) else ms + 500
            ids = [result.faces[line][1] for line in lines]
            known = lambda id, value: None if id == NO_TRACK else value
            faces = [
                {"face": line, "track": known(id, id), "confidence": 90.5, "box": known(id, result.box(line))} for line, id in zip(lines, ids)
            ]
            cues.append([f"moment-{ms}", ms, end(ms, min(following, ms + 500)), {"timestamp_ms": ms, "faces": faces}])
        files.append(("detections", "metadata", cues))
        expected = []
        for of, kind, cues in files:
            name = f"{result.seed}-{of}.vtt"
            (self.folder / name).write_text(self.export("vtt", of), encoding="utf-8")
            expected.append({"file": name, "kind": kind, "cues": cues})
        return expected


def equal(read, expected):
    if read != expected:
        different = [pair for pair in zip(read, expected) if pair[0] != pair[1]] if isinstance(read, list) else [(read, expected)]
        lengths = f"{len(read)} and {len(expected)}, " if isinstance(read, list) else ""
        raise AssertionError(f"{lengths}read and expected: {different[:3]}")


if __name__ == "__main__":
    main()
