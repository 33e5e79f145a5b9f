"""Limits of what is accepted, each with its reason.

They are far above what networks, tables and data sets need, and low enough that a small file
made on purpose cannot fill the memory or keep a command busy. ``docs/reference/errors.md`` lists
them; a test compares.
"""

RECIPE_BYTES = 256 << 10
"""Bytes of a recipe, and of what its aliases stand for when they are written out."""

ARTEFACT_BYTES = 64 << 20
"""Bytes of a JSON file."""

CSV_BYTES = 64 << 20
"""Bytes of a CSV file."""

CSV_LINE_CHARACTERS = 64 << 10
"""Characters of a line of a CSV file."""

NAMES_BYTES = 16 << 20
"""Bytes of a file with the names of classes."""

HISTORY_BYTES = 64 << 20
"""Bytes of a history of checks."""

NESTING = 64
"""Depth of lists and mappings inside one another in a file."""

CONTAINERS = 5_000_000
"""Lists and mappings in a JSON file."""

ALIASES = 100
"""Aliases in a recipe."""

DIGITS = 9
"""Digits of a whole number inside a text, such as a size in an operator's name."""

MESSAGE_CHARACTERS = 2_000
"""Characters of a message."""

VALUE_CHARACTERS = 300
"""Characters of a value that is quoted in a message."""

COUNT = 1_000_000_000
"""Largest count of anything: images, steps, epochs, plans, bytes of a group."""

BATCH = 65_536
"""Images per inference or step."""

THREADS = 4_096
"""Threads, and processes that share work."""

SIZE = 1 << 20
"""Side of an image or kernel, in pixels; channels of an input."""

INPUT_ELEMENTS = 1 << 26
"""Numbers in one input of a network, for one example: four images of 4096 x 4096 grey pixels."""

BATCH_ELEMENTS = 1 << 28
"""Numbers in one made-up batch of an input: 1 GiB in float32."""

TENSOR_ELEMENTS = 1 << 29
"""Numbers in a tensor that an ONNX file computes, or holds sparsely: 2 GiB in float32."""

POSITION = 100_000
"""Blocks of a chain, and positions that a file names."""

SECONDS = 1e7
"""Longest time that can be asked for: about four months."""

MILLISECONDS = 1e12
"""Longest latency that a table may hold."""

BYTES = 1 << 60
"""Memory that can be named: one exbibyte."""

SEED = 2**63 - 1
"""Largest seed: what torch and numpy take alike."""

LABELS = 100_000
"""Labels of a data set."""

IMAGE_BYTES = 256 << 20
"""Bytes of one image's file."""

IMAGE_PIXELS = 89_478_485
"""Pixels of an image: where Pillow begins to warn of decompression bombs."""

IMAGE_RATIO = 200
"""How many times as long as it is wide an image may be: its shorter side is what is resized to."""

TAR_MEMBERS = 20_000_000
"""Files in one tar."""

TAR_HEADER_BYTES = 1 << 20
"""Bytes that one header of a tar may have, long names and pax records included."""

LABEL_BYTES = 64
"""Bytes of a ``.cls`` file."""

IDX_BYTES = 256 << 20
"""Bytes of an unpacked IDX file."""

WEIGHTS_HEAD_BYTES = 100 << 20
"""Bytes of a file of weights beyond eight for each number of its network."""

CHECKPOINT_COPIES = 6
"""Times as large as its network's weights a checkpoint may be: it holds averages and an optimiser's
state too."""

CODE_BYTES = 4 << 20
"""Bytes of a file of Python that makes a network."""

ONNX_BYTES = 2 << 30
"""Bytes of an ONNX file, less the weights beside it: what protobuf takes."""

ONNX_NODES = 1_000_000
"""Nodes of an ONNX file, its functions written out where they are called."""

ONNX_NESTING = 16
"""Depth of graphs and functions inside one another in an ONNX file."""
