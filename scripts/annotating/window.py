"""labelImg's window, set up for one kind of work: a box beside every object, saved at once.

Annotations are Pascal VOC and lie beside their photo, whatever subfolder that is in. labelImg by
itself has one folder for all xml files, reads two more formats where it finds them, asks before
it saves and writes over a file in place.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Optional

from labelImg.labelImg import MainWindow
from lxml import etree
from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QImageReader

from atomic import atomic_write
from console import say, warn
from dataset import voc
from dataset.folder import is_photo, natural_key

# Open, open folder, open annotation, change the folder of annotations, save as, close, delete.
_LEADS_AWAY = (
    *("Ctrl+O", "Ctrl+U", "Ctrl+Shift+O", "Ctrl+R", "Ctrl+Shift+S", "Ctrl+W", "Ctrl+Shift+D"),
)

_SAVE_AFTER_MS = 300  # a box that is being dragged reports each of its moves


class AnnotationWindow(MainWindow):
    """Opens the photos of ``images`` and its subfolders; offers ``classes`` for a new box."""

    def __init__(self, images: Path, classes: list[str], class_file: Path) -> None:
        class_file.write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
        self._images = images
        self._save_soon: Optional[QTimer] = None
        super().__init__(str(images), str(class_file), str(images))
        self._save_soon = QTimer(self)
        self._save_soon.setSingleShot(True)
        self._save_soon.setInterval(_SAVE_AFTER_MS)
        self._save_soon.timeout.connect(self.save_now)
        self.auto_saving.setChecked(True)
        self.display_label_option.setChecked(True)
        self.zoom_mode = self.FIT_WINDOW
        self.actions.fitWindow.setChecked(True)
        self._leave_out_what_leads_away()

    def _leave_out_what_leads_away(self) -> None:
        """Hide what opens other folders, writes other formats or deletes a photo unasked."""
        shown = (*self.actions.beginner, *self.actions.advanced, *self.menus.file.actions())
        for action in filter(None, shown):
            if action.shortcut().toString() in _LEADS_AWAY:
                action.setVisible(False)
        own = (self.actions.save_format, self.actions.resetAll, self.menus.recentFiles.menuAction())
        for action in own:
            action.setVisible(False)
        for name in ("beginner", "advanced"):  # the toolbar, which shows hidden ones as well
            kept = [one for one in getattr(self.actions, name) if one is None or one.isVisible()]
            setattr(self.actions, name, tuple(kept))
        self.populate_mode_actions()

    # What labelImg calls keeps labelImg's names.

    def scan_all_images(self, folder_path: str) -> list[str]:
        """All photos that it can show, in the order in which the other programs go."""
        formats = {f".{bytes(name).decode()}" for name in QImageReader.supportedImageFormats()}
        found = sorted(
            (path for path in Path(folder_path).rglob("*") if is_photo(path.name)),
            key=lambda path: (natural_key(str(path.parent)), natural_key(path.name)),
        )
        left_out = [path for path in found if path.suffix.lower() not in formats]
        for path in left_out:
            warn(f"{path}: labelImg cannot show this format; ./inv data.resize makes it a JPEG")
        return [str(path) for path in found if path not in left_out]

    def open_dir_dialog(self, *_: object, **__: object) -> None:
        """Open nothing else: when it starts, labelImg would go through the parent folder."""

    def load_file(self, file_path: Optional[str] = None) -> bool:
        """Show a photo; what it is left with is written beside it."""
        self.save_now()
        if file_path is None:  # the photo of last time, which no window here remembers
            return False
        self.default_save_dir = os.path.dirname(file_path)  # noqa: PTH120 # it wants text
        loaded: bool = super().load_file(file_path)
        return loaded

    def show_bounding_box_from_annotation_file(self, file_path: str) -> None:
        """Read the xml beside the photo, and no other format."""
        xml = Path(file_path).with_suffix(".xml")
        if not xml.exists():
            return
        faults = voc.parse(xml).faults
        if faults:
            told = "<br>".join(f"{fault.reason}. {fault.remedy}." for fault in faults)
            self.error_message(
                "This annotation is damaged",
                f"{xml.name}: {told}<br>What you draw now takes the place of the file.",
            )
        self.load_pascal_xml_by_filename(str(xml))

    def set_dirty(self) -> None:
        super().set_dirty()
        if self._save_soon is not None:
            self._save_soon.start()

    def set_clean(self) -> None:
        super().set_clean()
        # A photo with nothing on it is worth saving too: the detector learns that nothing is there.
        self.actions.save.setEnabled(self.file_path is not None)

    def save_now(self) -> None:
        """Write what is not on the disk yet."""
        if self._save_soon is not None:
            self._save_soon.stop()
        if self.dirty and self.file_path:
            self.save_file()

    def save_labels(self, annotation_file_path: str) -> bool:
        """Write the annotation whole or not at all."""
        target = Path(f"{annotation_file_path.removesuffix('.xml')}.xml")
        try:
            with atomic_write(target) as temporary:
                with contextlib.redirect_stdout(io.StringIO()):  # it says so in words of its own
                    super().save_labels(str(temporary))
                _forget_place(temporary)
        except OSError as error:
            self.error_message("Not saved", f"{target}: {error.strerror or error}")
            return False
        boxes = len(self.canvas.shapes)
        name = target.relative_to(self._images) if target.is_relative_to(self._images) else target
        say(f"saved {name}: {boxes} box{'' if boxes == 1 else 'es'}")
        return True

    def may_continue(self) -> bool:
        """Nothing is asked before another photo is shown or the window closes: it is saved."""
        self.save_now()
        return not self.dirty


def _forget_place(xml: Path) -> None:
    """Take the photo's full path out: it says nothing on the next machine, and here too much."""
    tree = etree.parse(str(xml))
    for element in tree.findall("path"):
        tree.getroot().remove(element)
    tree.write(str(xml), encoding="utf-8")
