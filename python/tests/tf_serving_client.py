# The TensorFlow Serving client that services have today, kept as it is: what it sends must work.
# ruff: noqa
# fmt: off
# mypy: ignore-errors
import requests
import numpy as np
import json
from typing import Dict, List, Any
from dataclasses import dataclass

@dataclass
class TFServerConfig:
    host: str
    port: int
    model_name: str
    model_version: int

class TFServingClient:
    def __init__(self, config: TFServerConfig):
        self.config = config
        self.base_url = f"http://{config.host}:{config.port}/v1/models/{config.model_name}"

    def predict(self, input_data: np.ndarray) -> Dict[str, Any]:
        payload = {
            "instances": input_data.tolist()
        }
        response = requests.post(
            f"{self.base_url}/versions/{self.config.model_version}:predict",
            json=payload,
            headers={"Content-Type": "application/json"}
        )
        response.raise_for_status()
        return response.json()

    def predict_with_signature(self, input_data: np.ndarray, signature_name: str) -> Dict[str, Any]:
        payload = {
            "instances": input_data.tolist(),
            "signature_name": signature_name
        }
        response = requests.post(
            f"{self.base_url}/versions/{self.config.model_version}:predict",
            json=payload
        )
        response.raise_for_status()
        return response.json()

    def get_model_metadata(self) -> Dict[str, Any]:
        response = requests.get(f"{self.base_url}/metadata")
        response.raise_for_status()
        return response.json()

    def health_check(self) -> bool:
        try:
            response = requests.get(f"{self.base_url}/versions/{self.config.model_version}")
            return response.status_code == 200
        except Exception:
            return False
