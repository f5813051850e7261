"""What setup.cfg cannot say: the files that ROS tools look for in share/vpr_ros."""

from glob import glob

from setuptools import setup

setup(
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/vpr_ros"]),
        ("share/vpr_ros", ["package.xml"]),
        ("share/vpr_ros/launch", glob("launch/*.launch.py")),
        ("share/vpr_ros/config", [path for kind in ("yaml", "rviz", "xml") for path in glob(f"config/*.{kind}")]),
        ("share/vpr_ros/config/recipes", glob("config/recipes/*.yaml")),
        ("share/vpr_ros/config/recipes/lab", glob("config/recipes/lab/*.yaml")),
        ("share/vpr_ros/models", glob("models/*.*")),
        ("share/vpr_ros/models/local_features", glob("models/local_features/*")),
    ],
)
