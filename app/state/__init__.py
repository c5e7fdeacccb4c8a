"""State of a page: conversion between a URL and a dataclass."""
