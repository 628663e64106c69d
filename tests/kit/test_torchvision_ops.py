import subprocess
import sys


def test_the_vision_libraries_import_in_any_order_after_mending():
    program = (
        "from services.kit.torchvision_ops import mend_torchvision\n"
        "mend_torchvision(); mend_torchvision()\n"
        "import open_clip, timm, torchvision, transformers\n"
        "from torchvision.transforms import v2\n"
        "print('imported')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("imported"), done.stderr[-500:]
