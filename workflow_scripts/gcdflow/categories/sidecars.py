"""The category of each photograph as an XMP sidecar, which photo programs read as a keyword.

XMP: ISO 16684-1; keywords are an unordered array in ``dc:subject``. The sidecar of ``a.jpg`` is
``a.jpg.xmp``, as in digiKam and darktable, so ``a.jpg`` and ``a.png`` do not share one.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

from gcdflow.categories.assignments import load_assignments
from gcdflow.categories.folders import split_of_files
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_folder
from gcdflow.files.formats import leaves_folder
from gcdflow.wording import counted

# What XML 1.0 cannot hold, escaped or not.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A reader may turn these into spaces or newlines, unless they are written by their numbers.
_BY_NUMBER = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>{keyword}</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def xmp_packet(keyword: str) -> str:
    """An XMP packet with one keyword; characters that XML does not know become U+FFFD."""
    return _PACKET.format(keyword=escape(_NO_XML.sub("\ufffd", keyword), _BY_NUMBER))


def write_sidecars(split_path: Path, assignments_path: Path, output: Path) -> str:
    """Write a sidecar for each image, in folders like those of the images.

    Doubtful images have none, since a keyword looks as if somebody had given it. The folder appears
    whole or not at all, and images are neither opened nor changed.

    Parameters
    ----------
    output : Path
        Does not exist yet.

    Returns
    -------
    str
        Summary.

    Raises
    ------
    InputError
        If a file is not valid, the run has no image files, or the folder cannot be written.
    """
    split = split_of_files(split_path, "that sidecars could be of")
    assignments = load_assignments(assignments_path, split_path, split)
    sure = [
        (path, category)
        for path, category, is_doubtful in zip(
            assignments.paths, assignments.categories, assignments.doubtful, strict=True
        )
        if not is_doubtful
    ]
    if outside := [path for path, _ in sure if leaves_folder(path)]:
        raise InputError(
            f"{assignments_path}: '{outside[0]}' is not the path of an image; make the table again"
        )
    with atomic_folder(output) as folder:
        for path, category in sure:
            sidecar = folder / f"{path}.xmp"
            sidecar.parent.mkdir(parents=True, exist_ok=True)
            sidecar.write_text(xmp_packet(category), encoding="utf-8", newline="\n")
    n_doubtful = len(assignments.paths) - len(sure)
    doubtful = f"; {n_doubtful} doubtful left out" if n_doubtful else ""
    n_categories = len({category for _, category in sure})
    return (
        f"{counted(len(sure), 'sidecar')} of {counted(n_categories, 'category', 'categories')}"
        f"{doubtful}"
    )
