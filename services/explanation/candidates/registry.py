"""The vision-language model that the settings name, once a process."""

from __future__ import annotations

from threading import Lock

from contracts.labels import VisionModelUnavailable
from services.explanation.candidates.local import TransformersVision
from services.explanation.candidates.port import VisionModel
from services.explanation.candidates.remote import OpenAiVision
from services.kit.settings import Settings


class VisionModels:
    """Opens the model on first use; there is none unless the operator names one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._model: VisionModel | None = None

    def require(self) -> VisionModel:
        """Return the model.

        Raises
        ------
        VisionModelUnavailable : none is named, saying which setting is missing, or its folder cannot be used.
        """
        with self._lock:
            if self._model is None:
                self._model = self._open()
            return self._model

    def _open(self) -> VisionModel:
        settings = self._settings
        if settings.vlm_folder is not None:
            return TransformersVision(settings.vlm_folder)
        url, model = settings.vlm_url, settings.vlm_model
        if url is None or model is None:
            missing = "XSYS_VLM_MODEL" if url else "XSYS_VLM_URL" if model else "XSYS_VLM_FOLDER or XSYS_VLM_URL"
            raise VisionModelUnavailable(
                f"no vision-language model proposes candidates here: {missing} is not set", field="candidates"
            )
        key = None if settings.vlm_key is None else settings.vlm_key.get_secret_value()
        return OpenAiVision(
            url, model=model, key=key, timeout=settings.vlm_timeout.total_seconds(),
            attempts=settings.vlm_attempts,
        )  # fmt: skip
