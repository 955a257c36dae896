"""The obvious detection in Python: ffmpeg decodes two frames a second, onnxruntime runs the same network as facereel.

    detect.py FFMPEG MODEL CLIP

prints the seconds of the decoding alone, of the network alone, and of both as a pipeline, and the number of faces found, as JSON.
"""

import json
import subprocess
import sys
import time

import numpy
import onnx
import onnxruntime

# facereel's input for a picture of 16:9: 640 x 360, padded at the bottom.
WIDTH, HEIGHT, PADDED = 640, 360, 384
BYTES = 3 * WIDTH * PADDED
THRESHOLD = 0.5
SAME_FACE = 0.3


def main(ffmpeg, model, clip):
    network = load(model)
    decode_all = [ffmpeg, "-loglevel", "error", "-i", clip, "-f", "null", "-"]
    decoding = seconds(lambda: subprocess.run(decode_all, check=True))
    pictures = list(decoded(ffmpeg, clip))
    # The first run prepares the network.
    faces_in(network, pictures[0])
    network_alone = seconds(lambda: [faces_in(network, picture) for picture in pictures])
    found = []
    piped = seconds(lambda: found.extend(faces_in(network, picture) for picture in decoded(ffmpeg, clip)))
    json.dump({"decoding": decoding, "network": network_alone, "piped": piped, "faces": sum(found)}, sys.stdout)


def load(path):
    """The network for pictures of any size: the file declares the size that it was exported with."""
    model = onnx.load(path)
    shape = model.graph.input[0].type.tensor_type.shape.dim
    shape[0].dim_value = 1
    for dimension, name in ((shape[2], "height"), (shape[3], "width")):
        dimension.dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    # The weights are also declared as inputs, which would keep onnxruntime from optimising the network.
    del model.graph.input[1:]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def decoded(ffmpeg, clip):
    """The pictures of two frames a second, scaled and padded, while ffmpeg decodes."""
    filters = f"fps=2,scale={WIDTH}:{HEIGHT},pad={WIDTH}:{PADDED},format=rgb24"
    command = [ffmpeg, "-loglevel", "error", "-i", clip, "-vf", filters, "-f", "rawvideo", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while picture := process.stdout.read(BYTES):
            yield numpy.frombuffer(picture, numpy.uint8).reshape(PADDED, WIDTH, 3).transpose(2, 0, 1)[None].astype(numpy.float32)


def faces_in(network, picture):
    """The number of faces in a picture."""
    heat, size, offset = network.run(["537", "538", "539"], {network.get_inputs()[0].name: picture})
    rows, columns = numpy.where(heat[0, 0] > THRESHOLD)
    height, width = (numpy.exp(size[0, axis, rows, columns]) * 4 for axis in (0, 1))
    middle_y, middle_x = ((place + offset[0, axis, rows, columns] + 0.5) * 4 for axis, place in ((0, rows), (1, columns)))
    boxes = numpy.stack([middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2], axis=1)
    kept = []
    for index in numpy.argsort(-heat[0, 0, rows, columns]):
        if all(overlap(boxes[index], boxes[other]) <= SAME_FACE for other in kept):
            kept.append(index)
    return len(kept)


def overlap(one, other):
    """Intersection over union."""
    sides = numpy.minimum(one[2:], other[2:]) - numpy.maximum(one[:2], other[:2])
    shared = sides[0] * sides[1] if (sides > 0).all() else 0.0
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (area[0] + area[1] - shared)


def seconds(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
